"""What exitpol does: functions that return values and print nothing."""
