def is_text_payload(message):
    """For recording processors: imported and never called."""
    raise NotImplementedError


def trim_kwargs_from_test_function(test, kwargs):
    """Would remove arguments that the test does not take. There are none here."""
