"""Files that survive kills and full disks, locks, and weights that are read with care."""
