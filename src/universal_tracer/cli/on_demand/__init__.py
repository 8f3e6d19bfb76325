"""`--mode on-demand`: nothing is told until a trigger fires, then the seconds before and behind it.

plan       what the settings ask for, checked
triggers   what fires: events, figures of the last second, files, a signal
event_ring the events of the last seconds
captures   which triggers become captures, and when these are complete
folder     a capture's files
"""
