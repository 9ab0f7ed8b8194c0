"""The language of rules: what a rule may say, and how it is read, from its signature to a program."""
