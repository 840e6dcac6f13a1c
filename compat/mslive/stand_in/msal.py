"""A stand-in for Microsoft's sign-in library, with which the tests sign in as a Teams user."""
import unsigned


class PublicClientApplication:
    def __init__(self, client_id, authority):
        self._client_id = client_id

    def acquire_token_by_username_password(self, username, password, scopes):
        user = "5e2b6d90-7c1f-4a3d-8e4b-9f0a1b2c3d4e"
        return {"access_token": unsigned.token(appid=self._client_id, oid=user), "id_token_claims": {"oid": user}}
