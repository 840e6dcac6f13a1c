"""What goes over the wire, seen and changed through two options that azure-core gives every SDK."""
import re


class Wire:
    """Sees each request and each answer of the calls it is given to: `client.call(..., **wire.hooks)`.

    With `body`, the call sends that JSON in place of the SDK's own: so a test can say what the SDK
    would refuse to say.
    """

    def __init__(self, body=None):
        self.requests = []
        self.answers = []
        self._body = body
        self.hooks = {"raw_request_hook": self._request, "raw_response_hook": self._answer}

    @property
    def api_version(self):
        """The version that the SDK spoke."""
        return re.search("[?&]api-version=([^&]+)", self.requests[0].url).group(1)

    def _request(self, request):
        if self._body is not None:
            request.http_request.set_json_body(self._body)
        self.requests.append(request.http_request)

    def _answer(self, answer):
        self.answers.append(answer.http_response)
