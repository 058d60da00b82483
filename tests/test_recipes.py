from scalebayes.recipes import recipe_design, recipe_row

KAPLAN = {"warmup": "long", "schedule": "not matched", "tuning": "not tuned"}
SHORT = {"warmup": "short", "schedule": "not matched", "tuning": "not tuned"}
COSINE = {"warmup": "short", "schedule": "matched", "tuning": "not tuned"}
TUNED = {"warmup": "short", "schedule": "constant", "tuning": "tuned"}


def test_the_four_steps_of_porian_differ_by_one_column_each():
    rows = [recipe_row(recipe) for recipe in (KAPLAN, SHORT, COSINE, TUNED)]
    assert rows == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_a_column_that_varies_within_a_group_is_kept():
    design = recipe_design([KAPLAN, SHORT], ["rw", "rw"], ["a", "b"])
    assert design.names == ("long warm-up",)
    assert design.x.tolist() == [[1], [0]]


def test_a_column_that_differs_between_groups_only_is_not_identified():
    design = recipe_design([KAPLAN, SHORT], ["rw", "owt2"], ["a", "b"])
    assert design.names == ()
    assert design.x.shape == (2, 0)
    assert "long warm-up: not identified, since it differs between groups only" in (
        design.not_identified
    )


def test_an_unknown_recipe_counts_as_none_and_is_said():
    design = recipe_design([KAPLAN, SHORT, {}], ["rw", "rw", "other"], ["a", "b", "c"])
    assert design.x[2].tolist() == [0]
    assert design.assumed == ("long warm-up: unknown, taken as no, in c",)


def test_columns_that_vary_together_are_not_identified_one_by_one():
    design = recipe_design([KAPLAN, COSINE], ["rw", "rw"], ["a", "b"])
    assert design.names == ("long warm-up", "schedule not matched")
    assert any("not identified one by one" in text for text in design.not_identified)
    apart = recipe_design([KAPLAN, COSINE, SHORT], ["rw"] * 3, ["a", "b", "c"])
    assert not any("one by one" in text for text in apart.not_identified)
