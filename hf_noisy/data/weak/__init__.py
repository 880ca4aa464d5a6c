"""Votes of labelling rules, aggregated to one given label per row."""

from hf_noisy.data.weak.dawid_skene import DawidSkene, dawid_skene
from hf_noisy.data.weak.rules import RuleTable, rule_table
from hf_noisy.data.weak.vote import majority_vote, weighted_vote

__all__ = ["DawidSkene", "RuleTable", "dawid_skene", "majority_vote", "rule_table", "weighted_vote"]
