#!/usr/bin/env python3
"""Prints the events of a user's threads, one line of JSON each, until it is stopped.

Usage: reader.py ENDPOINT TOKEN [CURSOR]

It needs Python's standard library only. It connects again when the connection breaks and
continues behind the last event. Start it with the printed cursor to continue later.
SSL_CERT_FILE names the certificates to trust, as `confab run` sets it.
"""
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SILENCE = 45  # seconds; the server sends something every 15


def messages(lines):
    """Yields (event, id, data) for each message of a stream; those without data too."""
    event = cursor = data = None
    for line in lines:
        field, _, value = line.decode("utf-8").rstrip("\n").partition(": ")
        if field == "event":
            event = value
        elif field == "id":
            cursor = value
        elif field == "data":
            data = json.loads(value)
        elif field == "":
            yield event, cursor, data
            event = cursor = data = None


def read(endpoint, token, cursor):
    """Yields (event, cursor, data) for ever. Raises an HTTPError if the server refuses the token."""
    while True:
        wait = 1.0
        query = "?" + urllib.parse.urlencode({"cursor": cursor}) if cursor else ""
        request = urllib.request.Request(endpoint.rstrip("/") + "/chat/events" + query, headers={"Authorization": "Bearer " + token})
        try:
            with urllib.request.urlopen(request, timeout=SILENCE) as response:
                for event, position, data in messages(response):
                    cursor = position or cursor
                    if event == "bye":
                        wait = data["delay"] / 1000
                    if event:
                        yield event, cursor, data
        except urllib.error.HTTPError as e:
            if e.code not in (429, 503):
                raise  # 401: the token has ended; 400: the cursor is of another user
            wait = float(e.headers.get("Retry-After", 1))
        except OSError as e:
            print("the connection broke:", e, file=sys.stderr)
        time.sleep(wait)


if __name__ == "__main__":
    for name, at, fields in read(*(sys.argv[1:] + [None])[:3]):
        print(json.dumps({"event": name, "cursor": at, **fields}, ensure_ascii=False), flush=True)
