"""What several tests share: a small ledger, members that follow a script, rules without tensors."""
