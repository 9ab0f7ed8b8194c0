"""The primitives: pure functions of arrays with the rules of their derivatives, written against a namespace ``xp``."""
