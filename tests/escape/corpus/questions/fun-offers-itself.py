# sbx-case fun-offers-itself | category: questions | expect: hold | timeout: 20 | must: a kernel that makes the host's words about functions up calls no more than is offered
from rlm_kernel_mcp.in_kernel.asking import state
state._State.functions = {"FORGED": "mine", "echo": ""}
try:
    host_call("FORGED")
except Exception as error:
    refused = "There is no function 'FORGED'" in str(error)
print("HELD" if refused and host_call("echo", honest=1) == {"honest": 1} else "BROKEN")
