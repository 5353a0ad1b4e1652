"""The same small shop on ten frameworks, each in its own idiom.

Start the sandbox (``python -m usercom_asgi.sandbox``), then, for example::

    export USERCOM_BASE_URL=http://127.0.0.1:8900 USERCOM_API_KEY=ABC123
    uvicorn examples.frameworks.litestar_app:app
"""
