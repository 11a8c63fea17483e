"""One request's story: decide, record, walk the plan, finish.

gateway     the story
exchange    one request under way: its decision, attempts, permits and its one finish
out         where an answer goes, and the headers that it carries
answers     what a refusal or a failed walk is answered with
recent      decisions found again
counting    what the metrics say of a request
"""
