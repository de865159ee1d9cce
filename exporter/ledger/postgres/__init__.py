"""The ledger in PostgreSQL, for several replicas: one holds an account, the others stand by."""
