"""Names for runs and models that nobody named: `calm-heron-417`. Memorable, not unique."""

import secrets

_ADJECTIVES = (
    "able agile amber brave bright brisk calm candid careful clever cool crisp curious daring deft eager early "
    "fair fleet fresh gentle glad golden grand handy happy hardy honest keen kind light lively loyal lucid lucky "
    "mellow merry mild neat nimble noble open patient placid plucky polite proud quick quiet rapid ready rosy "
    "sharp silent silver smooth snug spry steady still sturdy subtle sunny tidy tranquil trim true upbeat vast "
    "vivid warm wise witty"
).split()
_NOUNS = (
    "adder ant auk badger bat bear bee bison boar buck carp cat cod colt crab crane crow cub deer dove drake duck "
    "eagle eel elk falcon fawn ferret finch fox frog gnu goat goose grouse gull hare hawk heron hound ibex ibis "
    "jay kestrel kite koala lark lemur lion lynx magpie mare marten mole moose moth mouse mule newt otter owl ox "
    "panda perch pike plover puma quail ram raven robin salmon seal shad shrew skink sloth snail sparrow squid "
    "stag stoat stork swan swift tern thrush toad trout vole wasp weasel whale wolf wren yak zebra"
).split()


def random_name() -> str:
    """Return `adjective-animal-number`."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(1000)}"
