import pytest


@pytest.mark.needs("playwright")
def test_the_readmes_picture_of_studio_shows_what_the_example_leaves() -> None:
    """`python tests/docs/studio_picture.py` draws it anew."""
    from studio_picture import PICTURE, page_of_the_example, words, words_in

    with page_of_the_example() as page:
        assert words(page) == words_in(PICTURE)
