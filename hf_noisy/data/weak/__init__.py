"""Votes of rules, people and models, and their aggregation to one given label per row."""

from hf_noisy.data.weak.dawid_skene import DawidSkene, dawid_skene
from hf_noisy.data.weak.rules import RuleTable, rule_table
from hf_noisy.data.weak.vote import majority_vote, weighted_vote
from hf_noisy.data.weak.vote_files import VoteFile, read_votes
from hf_noisy.data.weak.vote_table import Votes, votes_from_answers, votes_from_matrix

__all__ = [
    "DawidSkene",
    "RuleTable",
    "VoteFile",
    "Votes",
    "dawid_skene",
    "majority_vote",
    "read_votes",
    "rule_table",
    "votes_from_answers",
    "votes_from_matrix",
    "weighted_vote",
]
