"""`cri-shim doctor`: observes the node and says what would keep pods from running well, and what to do about it.

`facts` is what was observed, `observe*` observe it, `judge_*` are pure and turn facts into findings, `report` prints
them. A new check is a fact, a line that reads it and a rule that judges it.
"""
