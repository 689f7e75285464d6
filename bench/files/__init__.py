"""Files and folders of this machine: paths, whole writes, downloads, archives."""
