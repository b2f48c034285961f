from terminal_picture import PICTURE, draw, words


def test_the_readmes_picture_shows_what_the_commands_print() -> None:
    assert words(PICTURE.read_text(encoding="utf-8")) == words(draw())
