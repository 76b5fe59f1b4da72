"""What a plan means beyond its fields: the risks that it takes, whom it reaches, what Envoys are told.

The one rule: pure functions over the states before and after; what was seen of traffic is handed in. An effect is a
fact about the plan, and no judgement: whoever decides by it says so elsewhere. The parts are imported by name, so
that whoever reads the values loads neither rules nor protobuf.
"""
