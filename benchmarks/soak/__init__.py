"""Everything from outside at once, for an hour: does following go on, and is memory flat?"""
