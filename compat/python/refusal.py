"""What an SDK raises when the server refuses."""
import json

from azure.core.exceptions import ClientAuthenticationError

# The answer to one who is not in the thread, word for word as the real service gives it.
NOT_A_PARTICIPANT = "The initiator doesn't have the permission to perform the requested operation."


def assert_refused(raised, kind, status, code, message=None):
    """Checks the exception's class, the status, and the error as azure-core reads it from the answer."""
    error = raised.value
    assert type(error) is kind
    assert error.status_code == status
    assert error.error is not None, "no error object in the answer: {!r}".format(error.response.text())
    assert error.error.code == code
    if message is not None:
        assert error.error.message == message


def assert_chat_refused(raised, kind, status, code, message=None):
    """As assert_refused, for chat routes: the envelope that the real service sends is there too."""
    assert_refused(raised, kind, status, code, message)
    recorded = json.loads(raised.value.response.text())["CommunicationError"]
    assert recorded["Code"] == code
    assert recorded.get("Message") == raised.value.error.message
    assert recorded["Details"] == []


def assert_token_refused(raised):
    """Chat routes answer a token that is not good with 401 and no body at all."""
    error = raised.value
    assert type(error) is ClientAuthenticationError
    assert error.status_code == 401
    assert error.response.text() == ""
    assert error.response.headers["Content-Length"] == "0"
