"""The ledger in PostgreSQL, for several replicas: one holds an account, others are on standby."""
