"""Where shards are measured: this machine's processes now, a cluster later."""
