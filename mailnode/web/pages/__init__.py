"""The pages, a module a subject: each has a class whose `routes` say what there is."""
