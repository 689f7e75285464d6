"""What computing needs: devices, `Network`, random streams, files of tensors."""
