"""Facts, policy and state in; a decision out. Standard library only: no clock, chance, log or I/O.

values      what a fact can be; Kleene logic        facts      every fact by name
conditions  `when`                                  scale      labels, tiers
targets     the catalog and `targets:` selectors    prices     USD of a request on a target
dialects    what each upstream dialect takes        rules      forbid, prefer, raise, shape
document    a whole policy                          state, keys
label → shaping → removal → ordering, put together by `decide`
decision    the result                              account    the result as JSON, and back
whynot      the smallest change that would let a target in, tried over `alternatives`
"""
