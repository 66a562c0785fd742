"""Deletes and unloads adapters and repairs what others left: look, plan, act, check, all or nothing."""
