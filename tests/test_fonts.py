"""Words in pictures: Chinese where a font has its letters, else English; never a box."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.font_manager import fontManager

from cropland import fonts
from cropland.language import _, language, speaking


@pytest.fixture(autouse=True)
def chinese():
    with speaking("zh"):
        yield


@pytest.fixture
def no_font(monkeypatch):
    monkeypatch.setattr(fonts, "FAMILIES", ("A family that nobody has",))


def test_without_a_font_pictures_speak_english_and_the_person_still_chinese(no_font):
    with fonts.lettering():
        assert (language(), _("none")) == ("en", "none")
        assert plt.rcParams["font.family"] == [fonts.LATIN]
    assert language() == "zh"


def test_a_name_without_letters_in_any_font_has_question_marks(no_font):
    assert fonts.drawable("map 地图 é") == "map ?? é"


def test_with_a_font_pictures_speak_chinese(monkeypatch):
    here = sorted(set(fontManager.get_font_names()) - {fonts.LATIN})[0]
    monkeypatch.setattr(fonts, "FAMILIES", (here,))
    with fonts.lettering():
        assert (language(), _("none")) == ("zh", "无")
        assert plt.rcParams["font.family"] == [here, fonts.LATIN]


def test_an_error_inside_leaves_the_language_as_it_was(no_font):
    with pytest.raises(ZeroDivisionError), fonts.lettering():
        raise ZeroDivisionError
    assert language() == "zh"


def test_a_family_without_bold_letters_is_no_news(monkeypatch, caplog):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    monkeypatch.setattr(fonts, "_chinese", lambda: "cmex10")  # matplotlib brings it in one weight
    with fonts.lettering():
        figure = Figure()
        figure.text(0, 0, "a", weight="bold", family="cmex10")
        FigureCanvasAgg(figure).draw()
    assert caplog.records == []
