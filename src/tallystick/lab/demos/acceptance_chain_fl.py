def accept_standard(d,o): return []
def accept_bflc(d,o): return []
def accept_chain_fl(d,o): return []
