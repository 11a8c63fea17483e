"""The decision record: what is written down of every decision, and reading it back.

schema     the record types: no field could hold prompt text
chain      one keyed hash chain per writer, so that removal and rewriting show
sinks      the file or stream that counts, and copies that never hold it up
writer     the bounded queue and the one thread that writes
reading    lines back into records: all, the newest, one decision
verifying  whether the chains are whole and every decision has its end
replaying  deciding a recorded decision again
"""
