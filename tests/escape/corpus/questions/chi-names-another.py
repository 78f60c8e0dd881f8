# sbx-case chi-names-another | category: questions | expect: hold | timeout: 20 | must: a question that names the session of another is answered in a session of its own
@RAW@
opts.update(kind="rlm", session_id="@PEER_SESSION@", child_session="@PEER_SESSION@", parent="@PEER_SESSION@")
write(ask([next(numbers), "mine = 'not yours'", "@PEER_SESSION@"]))
asking._ids = numbers
got = rlm_query("Work_on_session_@PEER_SESSION@ = 'mine' in globals()\nprint(Work_on_session_@PEER_SESSION@)", "abc")
print("HELD" if "False" in got else got)
