"""Checks of the exceptions that an SDK raises for a failed request."""
import json

from azure.core.exceptions import ClientAuthenticationError

# The message of the real service's 403 for a user who is not in the thread.
NOT_A_PARTICIPANT = "The initiator doesn't have the permission to perform the requested operation."


def assert_refused(raised, kind, status, code, message=None):
    """Checks the class of the exception, the status, and the error that azure-core parsed from the response."""
    error = raised.value
    assert type(error) is kind
    assert error.status_code == status
    assert error.error is not None, "no error object in the answer: {!r}".format(error.response.text())
    assert error.error.code == code
    if message is not None:
        assert error.error.message == message


def assert_chat_refused(raised, kind, status, code, message=None):
    """Like assert_refused, for the chat API: also checks the second error envelope that the real service sends."""
    assert_refused(raised, kind, status, code, message)
    recorded = json.loads(raised.value.response.text())["CommunicationError"]
    assert recorded["Code"] == code
    assert recorded.get("Message") == raised.value.error.message
    assert recorded["Details"] == []


def assert_token_refused(raised):
    """Checks for a 401 without a body, the response of the chat API to an invalid token."""
    error = raised.value
    assert type(error) is ClientAuthenticationError
    assert error.status_code == 401
    assert error.response.text() == ""
    assert error.response.headers["Content-Length"] == "0"
