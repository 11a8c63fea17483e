"""One request's story: decide, record, walk the plan, finish.

gateway     the story
exchange    one request under way: its decision, attempts, permits and its one finish
answers     what a refusal or a failed walk is answered with
"""
