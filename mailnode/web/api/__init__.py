"""The API for programs, a module a resource: each has a class whose `operations` say what there is.

What an operation takes and answers stands in its row of the table, as JSON Schema: requests are
checked by it, and the OpenAPI document is made of it.
"""
