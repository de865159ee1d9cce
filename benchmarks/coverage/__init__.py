"""How much of what happened do followers count, how late, and what do they ask for it?"""
