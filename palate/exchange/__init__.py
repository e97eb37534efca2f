"""Files into a project of the database and out of it, with the card that lies beside an export."""
