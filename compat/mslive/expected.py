"""What Microsoft's live tests cannot show of any server, by suite and test. live_tests.py holds it against every run.

CANNOT_PASS: the test must fail, and its error must match the pattern `error`; a test that passes fails the run.
ASKS_NOTHING: the test passes, but it sends no request. Any other test that passes without a request fails the run.
"""
from collections import namedtuple

CannotPass = namedtuple("CannotPass", "error reason")

ENTRA = CannotPass(
    r"^ClientAuthenticationError: \(Denied\)",
    "signs its requests with a token of Microsoft Entra ID; without a Microsoft tenant a server cannot tell who made such a token",
)
TEAMS = CannotPass(
    r"^ClientAuthenticationError: \(InvalidAccessToken\)",
    "exchanges the token of a Teams user; without a Microsoft tenant a server cannot tell who made such a token",
)
TEAMS_CLAIMS = CannotPass(
    r"^AssertionError: assert '401' == '400'",
    "wants the claims of a Teams token compared; without a Microsoft tenant a server cannot tell who made such a token",
)
NO_ERRORS = CannotPass(
    r"^AssertionError: assert \[\] is None",
    "wants `errors` to be None, but the SDK of 1.2.0 makes an empty list of every answer without errors (the test of 1.3.0 wants the list)",
)

REFUSED_BY_SDK = "the SDK refuses the missing user before any request"
NEVER_AWAITED = "the test's decorator ArgumentPasser calls the coroutine and does not await it, so nothing of it runs"

SYNC = "test_communication_identity_client.py::TestClient::test_"
ASYNC = "test_communication_identity_client_async.py::TestClientAsync::test_"
SCOPES = (
    "ChatScope",
    "VoipScope",
    "ChatJoinScope",
    "ChatJoinLimitedScope",
    "VoipJoinScope",
    "ChatVoipScopes",
    "AllChatScopes",
    "AllVoipScopes",
    "ChatJoinVoipJoinScopes",
)
WITH_SCOPES = [f"[{scope}-value{i}]" for i, scope in enumerate(SCOPES)]
NO_PARTICIPANTS = "test_create_chat_thread_w_no_participants"

CANNOT_PASS = {
    "chat-1.2.0": {
        f"test_chat_client_e2e.py::TestChatClient::{NO_PARTICIPANTS}": NO_ERRORS,
        f"test_chat_client_e2e_async.py::TestChatClientAsync::{NO_PARTICIPANTS}_async": NO_ERRORS,
    },
    "identity-1.5.0": {
        **{SYNC + "get_token_from_token_credential" + scope: ENTRA for scope in WITH_SCOPES},
        **{
            client + name: why
            for client in (SYNC, ASYNC)
            for name, why in {
                "create_user_from_token_credential": ENTRA,
                "revoke_tokens_from_token_credential": ENTRA,
                "delete_user_from_token_credential": ENTRA,
                "get_token_for_teams_user_from_token_credential": ENTRA,
                "get_token_for_teams_user_with_valid_params": TEAMS,
                "get_token_for_teams_user_with_wrong_client_id": TEAMS_CLAIMS,
                "get_token_for_teams_user_with_wrong_user_object_id": TEAMS_CLAIMS,
            }.items()
        },
    },
}

ASKS_NOTHING = {
    "identity-1.5.0": {
        **{
            client + name: REFUSED_BY_SDK
            for client in (SYNC, ASYNC)
            for name in ("delete_user_with_no_user", "revoke_tokens_with_no_user", "get_token_with_no_user")
        },
        **{
            ASYNC + name + scope: NEVER_AWAITED
            for name in ("create_user_and_token", "get_token_from_token_credential")
            for scope in WITH_SCOPES
        },
    },
}
