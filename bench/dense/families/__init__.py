"""Families of seeded tasks, one module each: texts, questions, exact answers, and programs that find them."""
