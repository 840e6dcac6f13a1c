"""Helps tests whose steps must differ in time: the server's times have milliseconds, and it responds in less than one."""
import time


def pass_millisecond(message_id):
    """Waits, at most a millisecond, until the current time in milliseconds is later than the time in the message id."""
    while int(time.time() * 1000) <= int(message_id):
        pass
