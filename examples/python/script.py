"""A script without async: sends one text and says what became of it.

    python script.py 5491155550000 "hola"
"""

import sys

from centralita.sync import Service

to, text = sys.argv[1:3]
with Service() as wa:
    session = wa.create_session("ventas")
    for step in session.link():
        if step.qr:
            print(step.qr.to_terminal(), flush=True)
    session.wait_connected()
    sent = session.send(to, text)
    print(sent.status, sent.key.message_id, flush=True)
