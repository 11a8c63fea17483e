"""What is counted or held across requests.

controls    suspended targets and switches: the stop buttons, kept over a restart
"""
