"""Records and changes requests through two options that azure-core adds to every SDK."""
import re


class Wire:
    """Records the requests and responses of the calls that get its hooks: `client.call(..., **wire.hooks)`.

    With `body`, the call sends that JSON instead of the SDK's own, so that a test can send requests that the
    SDK would refuse.
    """

    def __init__(self, body=None):
        self.requests = []
        self.answers = []
        self._body = body
        self.hooks = {"raw_request_hook": self._request, "raw_response_hook": self._answer}

    @property
    def api_version(self):
        """The api-version of the SDK's first request."""
        return re.search("[?&]api-version=([^&]+)", self.requests[0].url).group(1)

    def _request(self, request):
        if self._body is not None:
            request.http_request.set_json_body(self._body)
        self.requests.append(request.http_request)

    def _answer(self, answer):
        self.answers.append(answer.http_response)
