"""Before anything is paid for: what the teacher will cost (`estimate`), how fast this machine works (`calibrate`), and what a run will take (`plan`)."""
