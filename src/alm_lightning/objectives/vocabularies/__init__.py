"""Two vocabularies, compared: which tokens are the same, and which stands for which.

`shared` finds tokens of the same bytes or the same role, `coarse` groups both vocabularies so that
they can be compared, and `counterparts`, `prefixes`, `nearest` and `projection` map one onto the
other. `pair_facts.PairFacts` is what an objective knows of the pair before the first step, and
`tables` makes what is computed from it part of a module.
"""
