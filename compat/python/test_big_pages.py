"""Lists of big messages, through azure-communication-chat."""

COUNT = 100
SIZE = 65_000  # a message has at most 64 KiB by default
BOUND = 4 << 20  # maximum size of the rows of a page in bytes


def test_a_list_of_big_messages_comes_in_small_pages(thread):
    heads = ["{:08d}".format(n) for n in range(COUNT)]
    for head in heads:
        thread.send_message(head + "x" * (SIZE - len(head)))

    listed, pages = [], []
    for page in thread.list_messages(results_per_page=200).by_page():
        texts = [message.content.message for message in page if message.type == "text"]
        listed += [text[:8] for text in texts if len(text) == SIZE]
        pages.append(sum(len(text) for text in texts))

    assert listed == heads[::-1]
    assert max(pages) <= BOUND
