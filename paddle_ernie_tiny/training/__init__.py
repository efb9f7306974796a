"""The trainer that every step shares, its batches, and the two steps without a teacher."""
