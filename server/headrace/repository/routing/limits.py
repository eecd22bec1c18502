"""How large routes and plans may be, so that the JSON in which they are stored is always read again.

`headrace.repository.text.document` allows 20,000 values and 1,048,576 characters; at their largest they have
half as many values, a quarter of the characters, and at most five sixths where JSON escapes each (U+0000 to
U+001F) as six.

A rollout's routes have the rules, the key and the fallback of its plan or of the route before, and the labels
of that route. So that they are no larger, the limits of all rules together count nothing else, and the labels
that rollouts set are not counted.
"""

MAX_VERSIONS = 16
MAX_SHADOWS = 8
# Beside stable, canary and previous.
MAX_LABELS = 64

MAX_RULES = 64
# Of each rule, and of each of its conditions.
MAX_CONDITIONS = 16
MAX_PATTERNS = 32
# Of all rules together: patterns, and characters of names, keys and patterns.
MAX_ALL_PATTERNS = 4096
MAX_ALL_CHARACTERS = 32_768

MAX_STEPS = 50
# Of each kind.
MAX_GATES = 20

# Characters of a name, label, key, pattern or seed, and of a gate's query.
MAX_TEXT = 256
MAX_QUERY = 4096
