"""Checks the environment variables that `confab run` and `confab env` set."""
import base64
import os
import re
from urllib.parse import urlsplit

import pytest

BUNDLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")


def certificates(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.findall(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", file.read(), re.DOTALL)
    return ["".join(text.split()) for text in found]


def test_endpoint_is_https_without_a_path():
    endpoint = urlsplit(os.environ["CONFAB_ENDPOINT"])
    assert endpoint.scheme == "https"
    assert endpoint.hostname
    assert (endpoint.path, endpoint.query, endpoint.fragment) == ("", "", "")


def test_connection_string_has_the_one_spelling_that_every_sdk_reads():
    parts = re.fullmatch(
        r"endpoint=(https://[^/;]+)/;accesskey=([A-Za-z0-9+/]+=*)", os.environ["CONFAB_CONNECTION_STRING"]
    )
    assert parts, "not endpoint=https://HOST/;accesskey=KEY"
    assert parts.group(1) == os.environ["CONFAB_ENDPOINT"]
    assert len(base64.b64decode(parts.group(2), validate=True)) >= 32


@pytest.mark.parametrize(
    "name, same_as",
    [
        ("AZURE_COMMUNICATION_SERVICE_ENDPOINT", "CONFAB_ENDPOINT"),
        ("COMMUNICATION_SAMPLES_CONNECTION_STRING", "CONFAB_CONNECTION_STRING"),
        ("AZURE_COMMUNICATION_SERVICE_CONNECTION_STRING", "CONFAB_CONNECTION_STRING"),
    ],
)
def test_names_of_the_official_samples_agree_with_ours(name, same_as):
    assert os.environ[name] == os.environ[same_as]


def test_ca_file_holds_our_ca_alone():
    assert len(certificates(os.environ["CONFAB_CA_FILE"])) == 1


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle_holds_our_ca_and_the_roots_of_the_system(name):
    (ours,) = certificates(os.environ["CONFAB_CA_FILE"])
    bundle = certificates(os.environ[name])
    assert ours in bundle
    assert len(bundle) > 1, "a program with this bundle could reach nobody but us"


def test_node_is_given_our_ca_beside_its_own_roots():
    # The file has only the CA, or a bundle if a file of other certificates was set before.
    (ours,) = certificates(os.environ["CONFAB_CA_FILE"])
    assert ours in certificates(os.environ["NODE_EXTRA_CA_CERTS"])


def test_java_is_told_of_a_trust_store_that_exists():
    store = re.search(r'-Djavax\.net\.ssl\.trustStore=("[^"]+"|\S+)', os.environ["JAVA_TOOL_OPTIONS"])
    assert store, "JAVA_TOOL_OPTIONS names no trust store"
    assert os.path.getsize(store.group(1).strip('"')) > 0
