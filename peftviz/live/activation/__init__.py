"""Switches, enables, merges and unmerges adapters by PEFT's own operations, planned, checked, all or nothing."""
